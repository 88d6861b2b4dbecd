"""``python -m realtime.server --port N`` prints ``READY <port>`` once the model is loaded and warm."""

from realtime.server.launch import main

if __name__ == "__main__":
    main()
