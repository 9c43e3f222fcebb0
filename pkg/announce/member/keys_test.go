package member

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestReadKeys(t *testing.T) {
	long := strings.Repeat("x", 40)
	for _, x := range []struct {
		name    string
		entries map[string]string
		keys    int
		err     string
	}{
		{"one", map[string]string{PrimaryKey: long}, 1, ""},
		{"and an older one", map[string]string{PrimaryKey: long, "old": long + "y"}, 2, ""},
		{"the same twice", map[string]string{PrimaryKey: long, "old": long}, 1, ""},
		{"none", map[string]string{"other": long}, 0, "herald-system/memberlist has no entry \"secretkey\""},
		{"empty", map[string]string{PrimaryKey: ""}, 0, "entry \"secretkey\": 0 bytes"},
		{"guessable", map[string]string{PrimaryKey: "password"}, 0, "at least 16"},
		{"second guessable", map[string]string{PrimaryKey: long, "old": "x"}, 0, "entry \"old\""},
		{"too many", map[string]string{PrimaryKey: long, "a": long + "a", "b": long + "b", "c": long + "c", "d": long + "d"}, 0, "remove the oldest"},
	} {
		t.Run(x.name, func(t *testing.T) {
			keys, err := ReadKeys(keyDir(t, x.entries), "herald-system/memberlist")
			switch {
			case x.err == "" && (err != nil || len(keys.all()) != x.keys):
				t.Errorf("%v, %v", keys, err)
			case x.err != "" && (err == nil || !strings.Contains(err.Error(), x.err)):
				t.Errorf("%v, want something with %q", err, x.err)
			}
		})
	}
}

// TestReadKeysOfAMountedSecret has the links that the kubelet makes.
func TestReadKeysOfAMountedSecret(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "..2026_01_01")
	for _, err := range []error{os.Mkdir(data, 0o700), os.WriteFile(filepath.Join(data, PrimaryKey), []byte("a secret of some length"), 0o600),
		os.Symlink("..2026_01_01", filepath.Join(dir, "..data")), os.Symlink("..data/"+PrimaryKey, filepath.Join(dir, PrimaryKey))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := ReadKeys(dir, "a/b"); err != nil || len(keys.all()) != 1 {
		t.Errorf("%v, %v", keys, err)
	}
}

func shown(r *keyring) shownKeys { return shownKeys{held: r.ids(), primary: r.primary.id} }

func TestRotate(t *testing.T) {
	a, b, c := testKey(t, "a"), testKey(t, "b"), testKey(t, "c")
	ring := func(keys ...Key) *keyring { return &keyring{primary: keys[0], held: keys} }
	for _, x := range []struct {
		name    string
		now     *keyring
		want    Keys
		members []shownKeys
		waiting time.Duration
		primary Key
		held    []Key
	}{
		{"nothing to do", ring(a), Keys{Primary: a}, []shownKeys{shown(ring(a))}, 0, a, []Key{a}},
		{"held at once, not used", ring(a), Keys{b, []Key{a}}, []shownKeys{shown(ring(a))}, 0, a, []Key{b, a}},
		{"used when all hold it", ring(a, b), Keys{b, []Key{a}}, []shownKeys{shown(ring(a, b)), shown(ring(b, a))}, 0, b, []Key{b, a}},
		{"used after ten minutes", ring(a, b), Keys{b, []Key{a}}, []shownKeys{shown(ring(a))}, 10 * time.Minute, b, []Key{b, a}},
		{"kept while somebody uses it", ring(b, a), Keys{Primary: b}, []shownKeys{shown(ring(a, b))}, 0, b, []Key{b, a}},
		{"dropped when nobody does", ring(b, a), Keys{Primary: b}, []shownKeys{shown(ring(b, a))}, 0, b, []Key{b}},
		{"alone", ring(a), Keys{Primary: b}, nil, 0, b, []Key{b}},
		{"a newcomer speaks as the others do", ring(b, a), Keys{b, []Key{a}}, []shownKeys{shown(ring(a))}, 0, a, []Key{b, a}},
		{"two changes at once", ring(a), Keys{c, []Key{b}}, []shownKeys{shown(ring(b, a))}, 0, a, []Key{c, b, a}},
	} {
		t.Run(x.name, func(t *testing.T) {
			got := rotate(x.now, x.want, x.members, x.waiting)
			sorted := func(keys []Key) []string {
				var s []string
				for _, k := range keys {
					s = append(s, k.String())
				}
				slices.Sort(s)
				return s
			}
			if got.primary.id != x.primary.id || !slices.Equal(sorted(got.held), sorted(x.held)) {
				t.Errorf("primary %v of %v, want %v of %v", got.primary, got.held, x.primary, x.held)
			}
		})
	}
}

// TestRotationLosesNobody has the Secret reach nodes, and nodes' news reach
// each other, in any order: each can always read each, and in the end only
// the new key is left.
func TestRotationLosesNobody(t *testing.T) {
	old, fresh := testKey(t, "old"), testKey(t, "fresh")
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 6).Draw(t, "nodes")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		rings, stages := make([]*keyring, n), make([]int, n)
		views := make([][]shownKeys, n) // views[i][j]: what i last heard of j
		for i := range n {
			rings[i] = &keyring{primary: old, held: []Key{old}}
		}
		for i := range n {
			for j := range n {
				views[i] = append(views[i], shown(rings[j]))
			}
		}
		secrets := []Keys{{Primary: old}, {fresh, []Key{old}}, {Primary: fresh}}
		step := func(i int) {
			if j := r.IntN(n); r.IntN(2) == 0 {
				views[i][j] = shown(rings[j])
			}
			if stages[i] < 2 && r.IntN(4) == 0 {
				stages[i]++
			}
			others := slices.Delete(slices.Clone(views[i]), i, i+1)
			rings[i] = rotate(rings[i], secrets[stages[i]], others, 0)
			for a := range n {
				for b := range n {
					if !containsKey(rings[b].held, rings[a].primary.id) {
						t.Fatalf("node %d can't read node %d", b, a)
					}
				}
			}
		}
		for range 2000 {
			step(r.IntN(n))
		}
		for i := range n {
			if rings[i].primary.id != fresh.id || len(rings[i].held) != 1 {
				t.Errorf("node %d ends with %v of %v", i, rings[i].primary, rings[i].held)
			}
		}
	})
}
