"""Images that the user names: paths, addresses of bytes, images in questions, and how closely they are looked at."""
