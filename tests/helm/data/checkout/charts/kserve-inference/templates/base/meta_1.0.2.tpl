{{/* Outside of vendor/, where sextant does not remove it. */}}
