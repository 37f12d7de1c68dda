// Package sink is what the outputs have in common: how an error says whether trying again can help.
//
// An output returns when what it was given is safe, or an error. The error is retryable unless it says
// otherwise; who calls owns the retries, so that no output holds a loop of its own.
package sink

import (
	"errors"
	"time"
)

// Permanent marks err as one that trying again will not heal: the receiver refuses this very thing.
// It is nil when err is.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

// IsPermanent reports whether err, or an error that it wraps, was marked by Permanent.
func IsPermanent(err error) bool {
	var p *permanent
	return errors.As(err, &p)
}

// RetryAfter says of err that the receiver asked to be left alone for d.
// It is nil when err is.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &later{err, d}
}

// Wait is the time for which the receiver asked to be left alone, 0 when err does not say.
func Wait(err error) time.Duration {
	var l *later
	if errors.As(err, &l) {
		return l.wait
	}
	return 0
}

type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

type later struct {
	err  error
	wait time.Duration
}

func (l *later) Error() string { return l.err.Error() }
func (l *later) Unwrap() error { return l.err }
