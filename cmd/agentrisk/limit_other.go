//go:build !unix

package main

// limitMemory leaves memory to Go's own limit.
func limitMemory(uint64) {}
