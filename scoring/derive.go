package scoring

// DeriveScratch holds buffers that Derive uses again.
type DeriveScratch struct{ buf []byte }

// Derive fills fields that the provider did not send.
func Derive(e *Event, s *DeriveScratch) {}
