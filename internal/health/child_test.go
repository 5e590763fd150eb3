package health

// child is what the test binary does when a test starts it as another user.
func child() int { return 2 }
