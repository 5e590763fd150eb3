package interop

import "slices"

// All are the trials, in the order of the table.
func All() []Trial {
	return slices.Concat(alone(), configurations(), keepalivedFails(), oursFails(), handOvers(), cuts(), sharedMAC(), strangers(), priorities(), migrations())
}

// Brief are those that go test has time for.
func Brief() []Trial {
	return slices.DeleteFunc(All(), func(t Trial) bool { return !t.Brief })
}
