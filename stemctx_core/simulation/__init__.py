"""The forward model: columns in abTEM, a library of their responses, frames rendered from it."""
