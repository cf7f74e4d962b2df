"""What all attacks stand on: their base, and the scheduler that gives every (image, ε, restart) steps of its own."""
