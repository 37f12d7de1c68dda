//go:build poisonseam

package ingest

import (
	"bytes"
	"os"
)

// seam ends the process, in a build for tests, at records that say how.
func seam(rec *Record) {
	_, how, ok := bytes.Cut(rec.Value, []byte("poison-seam:"))
	switch {
	case !ok:
	case bytes.HasPrefix(how, []byte("exit")):
		os.Exit(137)
	case bytes.HasPrefix(how, []byte("panic")):
		go panic("of a goroutine of its own, which nobody can catch: " + string(rec.Value))
		select {}
	case bytes.HasPrefix(how, []byte("stack")):
		if os.Getenv("AGENTRISK_TRIAL") == "" { // a gigabyte of stack, here and now, would be too much for a test
			os.Exit(2)
		}
		deeper(0)
	case bytes.HasPrefix(how, []byte("memory")):
		if os.Getenv("AGENTRISK_TRIAL") == "" { // as if the system had ended it
			os.Exit(137)
		}
		for held := [][]byte(nil); ; {
			held = append(held, bytes.Repeat([]byte{1}, 16<<20))
		}
	case bytes.HasPrefix(how, []byte("unexplained")):
		if os.Getenv("AGENTRISK_TRIAL") == "" {
			os.Exit(137)
		}
	}
}

func deeper(n int) int { return deeper(n+1) + n }
