package kube

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

const (
	stateFile    = "cluster.json"
	stateVersion = 1
	// maxState bounds the file: 10,000 Services on 100 nodes take 3 MB.
	maxState = 32 << 20
	// saveEvery bounds how often the file is written.
	saveEvery = 5 * time.Second
)

// State keeps the last Cluster in a file, for a restart while the API server is
// away. It holds the passwords of BGP peers, in the document or by themselves: a
// session with a router must come back without the API server, too. So only the
// file's owner can read it, and it should be in memory.
type State struct {
	log  *slog.Logger
	path string
	wake chan struct{} // holds one

	mu   sync.Mutex // guards next
	next *saved
}

// saved is the file. It is read only by the pod that wrote it, so that the
// values of package announce can be in it as they are.
type saved struct {
	Version  int
	At       time.Time
	Document string           // "" when there was no configuration
	Cluster  announce.Cluster // without Config and Passwords

	Passwords map[string]string // those known, by the name of their Secret
}

// NewState returns a State that keeps its file in a directory.
func NewState(log *slog.Logger, dir string) *State {
	return &State{log: log, path: filepath.Join(dir, stateFile), wake: make(chan struct{}, 1)}
}

// save notes the Cluster to be written soon.
func (s *State) save(c *announce.Cluster, document string) {
	next := &saved{Version: stateVersion, Document: document, Cluster: *c}
	next.Cluster.Config, next.Cluster.Passwords = nil, nil
	for name, p := range c.Passwords {
		if p.Problem == "" {
			if next.Passwords == nil {
				next.Passwords = map[string]string{}
			}
			next.Passwords[name] = p.Value.Reveal()
		}
	}
	s.mu.Lock()
	s.next = next
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes the file until ctx ends, and then once more if it is due.
func (s *State) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.wake:
			s.write()
			select {
			case <-ctx.Done():
			case <-time.After(saveEvery):
			}
		}
	}
	s.write()
}

func (s *State) write() {
	s.mu.Lock()
	next := s.next
	s.next = nil
	s.mu.Unlock()
	if next == nil {
		return
	}
	next.At = time.Now()
	if err := s.replace(next); err != nil {
		s.log.Warn("the state for a restart without the API server was not saved", "err", err)
	}
}

// replace writes the file so that a reader finds either the old or the new one.
func (s *State) replace(next *saved) error {
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if len(data) > maxState {
		return fmt.Errorf("%d bytes are more than the %d allowed", len(data), maxState)
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), stateFile+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(data)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path)
}

// load reads what an earlier run saved.
func (s *State) load() (*saved, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxState {
		return nil, fmt.Errorf("%s has more than the %d bytes allowed", s.path, maxState)
	}
	return decodeState(data)
}

func decodeState(data []byte) (*saved, error) {
	in := new(saved)
	if err := json.Unmarshal(data, in); err != nil {
		return nil, fmt.Errorf("saved state: %w", err)
	}
	if in.Version != stateVersion {
		return nil, fmt.Errorf("saved state has version %d, not %d", in.Version, stateVersion)
	}
	c := &in.Cluster
	c.Freshness, c.Config, c.ConfigProblem = announce.Saved, nil, ""
	c.Passwords = make(map[string]announce.Password, len(in.Passwords))
	for name, value := range in.Passwords {
		c.Passwords[name] = announce.Password{Value: config.Secret(value)}
	}
	if in.Document == "" {
		return in, nil
	}
	if sha256.Sum256([]byte(in.Document)) != c.Hash {
		return nil, errors.New("saved state: the document does not have the hash saved with it")
	}
	var err error
	if c.Config, err = config.Parse([]byte(in.Document)); err != nil {
		return nil, fmt.Errorf("saved state: %w", err)
	}
	return in, nil
}
