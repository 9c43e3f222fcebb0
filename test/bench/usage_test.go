package bench

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseUsage(t *testing.T) {
	const rollup = "55d0-7ffe ---p 00000000 00:00 0   [rollup]\nRss:               38912 kB\nPss:               20480 kB\nPss_Anon:          1 kB\n"
	const stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 100 0 0"
	got, err := parseUsage(rollup, stat)
	want := usage{rss: 38, pss: 20, cpu: 2 * time.Second}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(usage{})); err != nil || diff != "" {
		t.Errorf("%v; -want +got\n%s", err, diff)
	}
	for _, bad := range []string{"", "42 (a) S 1"} {
		if _, err := parseUsage(rollup, bad); err == nil {
			t.Errorf("stat %q: no error", bad)
		}
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	u, err := usageOf(os.Getpid())
	if err != nil {
		t.Skip(err) // a kernel without smaps_rollup
	}
	if u.rss <= 0 || u.pss <= 0 || u.pss > u.rss {
		t.Errorf("%+v", u)
	}
}
