package kube

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

const (
	passwordKey = "password"
	// maxPassword is the kernel's limit for a TCP MD5 key.
	maxPassword = 80
)

// secrets follows the Secrets that the accepted configuration names, each by a
// watch of its own: no other is ever asked for.
type secrets struct {
	log     *slog.Logger
	open    func(name string) cache.ListerWatcher
	wake    func()
	running sync.WaitGroup

	// Only the goroutine of Source.Run uses the fields below.
	watched map[string]*watchedSecret
	last    map[string]announce.Password // good ones
}

type watchedSecret struct {
	table *table[*corev1.Secret, announce.Password]
	stop  context.CancelFunc
	told  string // the problem that was logged
}

func newSecrets(log *slog.Logger, open func(string) cache.ListerWatcher, wake func()) *secrets {
	return &secrets{log: log, open: open, wake: wake, watched: map[string]*watchedSecret{}, last: map[string]announce.Password{}}
}

// follow watches the Secrets that a configuration names, and no other ones.
func (s *secrets) follow(ctx context.Context, c *config.Config) {
	var names []string
	if c != nil {
		for _, p := range c.Peers {
			if p.PasswordSecret != "" {
				names = append(names, p.PasswordSecret)
			}
		}
	}
	for name, w := range s.watched {
		if !slices.Contains(names, name) {
			w.stop()
			delete(s.watched, name)
			delete(s.last, name)
		}
	}
	for _, name := range names {
		if _, ok := s.watched[name]; ok {
			continue
		}
		backoff := retry
		w := &watchedSecret{table: newTable(convertSecret, s.wake)}
		r := cache.NewReflectorWithOptions(s.open(name), &corev1.Secret{}, w.table, cache.ReflectorOptions{Name: "secret", Backoff: &backoff})
		var watching context.Context
		watching, w.stop = context.WithCancel(ctx)
		s.running.Go(func() { r.RunWithContext(watching) })
		s.watched[name] = w
	}
}

// restore takes in what an earlier run knew.
func (s *secrets) restore(known map[string]announce.Password) {
	for name, p := range known {
		s.last[name] = p
	}
}

// read returns what is known of each watched Secret. One that is gone, or not
// good any more, goes on being what it was: a session that works stays.
func (s *secrets) read() map[string]announce.Password {
	if len(s.watched) == 0 {
		return nil
	}
	out := make(map[string]announce.Password, len(s.watched))
	for name, w := range s.watched {
		p, known := s.readOne(name, w)
		last, had := s.last[name]
		switch {
		case known && p.Problem == "":
			s.last[name], out[name] = p, p
		case had:
			out[name] = last
			if known && w.told != p.Problem {
				w.told = p.Problem
				s.log.Warn("a Secret with a BGP password is not good any more; the password it had stays in use", "secret", name, "err", p.Problem)
			}
		case known:
			out[name] = p
		}
	}
	return out
}

// readOne returns false as long as the Secret has not been read.
func (s *secrets) readOne(name string, w *watchedSecret) (announce.Password, bool) {
	if !w.table.hasSynced() {
		return announce.Password{}, false
	}
	found := announce.Password{Problem: fmt.Sprintf("there is no Secret %s in Herald's namespace", name)}
	w.table.read(func(items map[string]announce.Password) {
		for _, p := range items { // one at most
			found = p
		}
	})
	return found, true
}

// convertSecret keeps the entry "password". A line break at its end is the
// editor's and not meant.
func convertSecret(s *corev1.Secret) (announce.Password, bool) {
	value := strings.TrimRight(string(s.Data[passwordKey]), "\r\n")
	switch {
	case value == "":
		return announce.Password{Problem: fmt.Sprintf("Secret %s has no entry %q", s.Name, passwordKey)}, true
	case len(value) > maxPassword:
		return announce.Password{Problem: fmt.Sprintf("the password in Secret %s has %d bytes: the kernel takes at most %d", s.Name, len(value), maxPassword)}, true
	}
	return announce.Password{Value: config.Secret(value)}, true
}
