//go:build unix

package main

import "syscall"

// limitMemory bounds the writable memory that the system gives to this process. Where it refuses, Go's own limit stands.
func limitMemory(n uint64) {
	_ = syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: n, Max: n})
}
