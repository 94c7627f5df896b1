"""What the commands do: each takes its arguments, calls the door or stage concerned, and prints."""
