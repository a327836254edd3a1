"""The plots of the documentation. Each script writes one SVG into ``docs/images``."""
