"""Localization: what one thing a picture shows, and where it is (He et al. 2015, appendix C)."""
