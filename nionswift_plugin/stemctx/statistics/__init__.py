"""What was flagged so far: begin with `counts`, the session in numbers; `distances` between flags, `plots` of both."""
