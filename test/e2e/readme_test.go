package e2e

import (
	"os"
	"strings"
	"testing"
)

// What the README tells people to write into their routers is what the tests
// have in theirs.
func TestReadmeQuotesTheRouters(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ begins, ends, file string }{
		{"\nFRR, for nodes", "\nBIRD, ", "frr.conf"},
		{"\nBIRD, ", "\nThese are lines", "bird.conf"},
	} {
		_, rest, _ := strings.Cut(string(readme), c.begins)
		quote, _, ok := strings.Cut(rest, c.ends)
		if !ok {
			t.Errorf("the README has no %q that ends at %q", c.begins, c.ends)
		}
		lines := map[string]bool{}
		for line := range strings.Lines(testfile(c.file)) {
			lines[strings.TrimSpace(line)] = true
		}
		n := 0
		for line := range strings.Lines(quote) {
			if strings.HasPrefix(line, "    ") {
				n++
				if !lines[strings.TrimSpace(line)] {
					t.Errorf("%s has no line %q", c.file, strings.TrimSpace(line))
				}
			}
		}
		if n < 10 {
			t.Errorf("%d lines of %s are quoted", n, c.file)
		}
	}
}
