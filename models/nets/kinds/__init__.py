"""The kinds of teacher, one small module each: what lies between embedded request and towers."""
