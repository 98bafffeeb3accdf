"""TFX components, one folder each; modules named for their job hold the work and import no tfx."""
