package election

const crashEnv = "LEASEHOLD_TEST_CRASH"

func crashChild() int { return 0 }
