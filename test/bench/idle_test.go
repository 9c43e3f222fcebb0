package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCounters(t *testing.T) {
	const out = `{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
{"counter": {"family": "bridge", "name": "n1", "table": "bench", "handle": 1, "packets": 120, "bytes": 9000}},
{"counter": {"family": "bridge", "name": "n2", "table": "bench", "handle": 2, "packets": 0, "bytes": 0}}]}`
	got, err := parseCounters([]byte(out))
	want := map[string]counter{"n1": {"n1", 120, 9000}, "n2": {Name: "n2"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v; -want +got\n%s", err, diff)
	}
	if _, err := parseCounters([]byte("no JSON")); err == nil {
		t.Error("no error")
	}
}
