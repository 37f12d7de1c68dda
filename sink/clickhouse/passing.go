package clickhouse

import (
	"errors"
	"io"
	"net"
)

// Passes reports whether the error is one of a server that is away or on its way out, and not of what was asked.
func Passes(err error) bool {
	var network net.Error
	switch code(err) {
	case 210, 236: // network error, aborted
		return true
	}
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
