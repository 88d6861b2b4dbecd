"""Live flagging without a window: frames tapped, judged by a server, and handed out."""
