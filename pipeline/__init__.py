"""Recordings to a store and its splits. Imports neither torch, rich nor click."""
