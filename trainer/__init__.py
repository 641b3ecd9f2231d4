"""What learns: example store, teacher, distillation, gates, registry, rebuild, traffic simulator."""
