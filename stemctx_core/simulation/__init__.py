"""The forward model: columns in abTEM, a library of their responses, frames rendered from it.

Start with `library` and `render`; `building` makes a library, `truth` measures it, `imaging` is a microscope's imperfections.
"""
