package config

import (
	"fmt"
	"log/slog"
)

// Secret is text that must never be printed: every way of formatting it gives
// a placeholder. Use Reveal where the text itself is needed. (A map's key is the
// one place where encoding/json doesn't ask it: don't make it one.)
type Secret string

// redacted is what every printed Secret looks like, an empty one included, so
// that a log doesn't even tell whether there is one.
const redacted = "REDACTED"

// Reveal returns the secret text. Its result must not reach a log, an Event, a
// metric or an error.
func (s Secret) Reveal() string { return string(s) }

// String returns a placeholder.
func (s Secret) String() string { return redacted }

// GoString returns a placeholder.
func (s Secret) GoString() string { return redacted }

// Format prints a placeholder for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText returns a placeholder; JSON and YAML encoders use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
