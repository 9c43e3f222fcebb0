package member

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// PrimaryKey is the entry of the Secret whose key members encrypt with.
	PrimaryKey = "secretkey"

	minSecret = 16 // bytes of a Secret's entry, below which it can be guessed
	maxKeys   = 4  // keys that the metadata has room to show

	// rotationPatience is how long a new key waits for members that don't
	// show it yet. The kubelet needs a minute or two to spread a Secret.
	rotationPatience = 10 * time.Minute
)

// keyID names a key without giving it away.
type keyID [8]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

// hint is what a packet says of the key it is sealed with.
func (id keyID) hint() [4]byte { return [4]byte(id[:4]) }

// Key is an AES-256 key. It prints as its id.
type Key struct {
	id     keyID
	secret [32]byte
}

// NewKey makes the key that a Secret's entry stands for: its SHA-256.
func NewKey(entry []byte) (Key, error) {
	if len(entry) < minSecret {
		return Key{}, fmt.Errorf("%d bytes, at least %d are needed", len(entry), minSecret)
	}
	k := Key{secret: sha256.Sum256(entry)}
	id := sha256.Sum256(append([]byte("herald key id\x00"), k.secret[:]...))
	copy(k.id[:], id[:])
	return k, nil
}

// String returns the key's id, which is safe to show.
func (k Key) String() string { return k.id.String() }

// GoString is String: no way of printing a key shows its bytes.
func (k Key) GoString() string { return k.id.String() }

// Format is String for every verb.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.id.String()) }

// MarshalText is String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.id.String()), nil }

// Keys is what the Secret holds: the key to encrypt with and those that are
// accepted beside it.
type Keys struct {
	Primary  Key
	Accepted []Key
}

// all returns every key once, the primary first.
func (k Keys) all() []Key {
	all := []Key{k.Primary}
	for _, a := range k.Accepted {
		if !containsKey(all, a.id) {
			all = append(all, a)
		}
	}
	return all
}

// ReadKeys reads a directory into which a Secret is mounted: secretkey is the
// primary key, every other file one that is accepted too. The error says what
// is wrong and how to mend it, by the Secret's name.
func ReadKeys(dir, secret string) (Keys, error) {
	primary, err := readKey(filepath.Join(dir, PrimaryKey))
	if errors.Is(err, fs.ErrNotExist) {
		namespace, name, _ := strings.Cut(secret, "/")
		return Keys{}, fmt.Errorf("secret %s has no entry %q, so members can't trust each other: the controller makes it when it starts; "+
			"by hand: kubectl -n %s create secret generic %s --from-literal=%s=\"$(openssl rand -base64 128)\"", secret, PrimaryKey, namespace, name, PrimaryKey)
	}
	if err != nil {
		return Keys{}, fmt.Errorf("secret %s, entry %q: %w", secret, PrimaryKey, err)
	}
	keys := Keys{Primary: primary}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Keys{}, fmt.Errorf("secret %s: %w", secret, err)
	}
	for _, e := range entries {
		// The kubelet keeps its versions in directories whose names begin
		// with two dots and links the files.
		if e.Name() == PrimaryKey || strings.HasPrefix(e.Name(), "..") || e.IsDir() {
			continue
		}
		k, err := readKey(filepath.Join(dir, e.Name()))
		if err != nil {
			return Keys{}, fmt.Errorf("secret %s, entry %q: %w", secret, e.Name(), err)
		}
		keys.Accepted = append(keys.Accepted, k)
	}
	if n := len(keys.all()); n > maxKeys {
		return Keys{}, fmt.Errorf("secret %s has %d keys, at most %d can be used at a time: remove the oldest", secret, n, maxKeys)
	}
	return keys, nil
}

func readKey(path string) (Key, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Key{}, err
	}
	return NewKey(b)
}

// keyring is the keys in use at one moment. It is immutable.
type keyring struct {
	primary Key
	held    []Key // the primary among them; at most maxKeys
}

func (r *keyring) byHint(h [4]byte) (Key, bool) {
	for _, k := range r.held {
		if k.id.hint() == h {
			return k, true
		}
	}
	return Key{}, false
}

func (r *keyring) ids() []keyID {
	ids := make([]keyID, len(r.held))
	for i, k := range r.held {
		ids[i] = k.id
	}
	return ids
}

func containsKey(keys []Key, id keyID) bool {
	return slices.ContainsFunc(keys, func(k Key) bool { return k.id == id })
}

// shownKeys is what a member says of its keys.
type shownKeys struct {
	held    []keyID
	primary keyID
}

// rotate decides which keys to hold and which of them to encrypt with, given
// what the Secret wants, what all other live members show, and how long the
// wanted primary has been waiting. All keys wanted are held at once. The
// wanted primary is used when every member shows it. A key that left the
// Secret is dropped when no member encrypts with it. So no order of events
// among the nodes loses a packet.
func rotate(now *keyring, want Keys, members []shownKeys, waiting time.Duration) *keyring {
	held := want.all()
	for _, k := range now.held {
		if !containsKey(held, k.id) {
			held = append(held, k)
		}
	}
	primary := choosePrimary(now.primary, want.Primary, held, members)
	if waiting >= rotationPatience {
		primary = want.Primary
	}
	held = slices.DeleteFunc(held, func(k Key) bool {
		wanted := containsKey(want.all(), k.id) || k.id == primary.id
		inUse := slices.ContainsFunc(members, func(m shownKeys) bool { return m.primary == k.id })
		return !wanted && !inUse
	})
	// What the Secret wants comes first, so a cut takes the oldest leftovers.
	if i := slices.IndexFunc(held, func(k Key) bool { return k.id == primary.id }); i >= maxKeys {
		held[maxKeys-1] = held[i]
	}
	return &keyring{primary: primary, held: held[:min(len(held), maxKeys)]}
}

// choosePrimary returns the first of the wanted key, the current one and the
// others that every member can read; the current one if there is none.
func choosePrimary(current, wanted Key, held []Key, members []shownKeys) Key {
	for _, k := range append([]Key{wanted, current}, held...) {
		unread := slices.ContainsFunc(members, func(m shownKeys) bool { return !slices.Contains(m.held, k.id) })
		if !unread {
			return k
		}
	}
	return current
}

func (r *keyring) equal(o *keyring) bool {
	return r.primary.id == o.primary.id && slices.Equal(r.ids(), o.ids())
}
