"""Skill-Targeted Adaptive Training: find what a student model cannot do, and train it on that."""

__version__ = "0.1.0"
