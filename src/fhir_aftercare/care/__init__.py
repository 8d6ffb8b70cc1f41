"""What good aftercare is: pure rules, standard library only."""
