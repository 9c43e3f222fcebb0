package usage

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const rollup = "55d0-7ffe ---p 00000000 00:00 0   [rollup]\nRss:               38912 kB\nPss:               20480 kB\nPss_Anon:          1 kB\n"
	const stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 100 0 0"
	got, err := parse(rollup, stat)
	want := Usage{RSS: 38, PSS: 20, CPU: 2 * time.Second}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v; -want +got\n%s", err, diff)
	}
	for _, bad := range []string{"", "42 (a) S 1"} {
		if _, err := parse(rollup, bad); err == nil {
			t.Errorf("stat %q: no error", bad)
		}
	}
}

func TestOfThisProcess(t *testing.T) {
	u, err := Of(os.Getpid())
	if err != nil {
		t.Skip(err) // a kernel without smaps_rollup
	}
	if u.RSS <= 0 || u.PSS <= 0 || u.PSS > u.RSS {
		t.Errorf("%+v", u)
	}
}
