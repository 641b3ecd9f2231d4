"""What learns: example store, teacher, distillation, gates, rebuild, traffic simulator."""
