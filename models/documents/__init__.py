"""The pages of files: of PDF and of images, as pixels with the text that the file states."""
