package soak

import (
	"context"
	"testing"
	"time"
)

func TestWhatIsBrokenIsMendedWhenTheRunIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	mended := false
	breaks := func() (func() error, error) {
		cancel()
		return func() error { mended = true; return nil }, nil
	}
	if err := (&run{}).until(ctx, breaks, time.Hour); err != nil || !mended {
		t.Errorf("%v, mended %v", err, mended)
	}
}
