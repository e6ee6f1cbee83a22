"""Rewriting graphs: patterns, constants, edits that keep a graph valid. Used by passes and by legalization alike."""
