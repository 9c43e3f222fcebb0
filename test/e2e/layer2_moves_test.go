package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab/build"
)

// What is planned costs no connection, in either family.
func TestPlannedMovesCostNothing(t *testing.T) {
	c := onCluster(t)
	s := c.site(t, "planned", 2)
	ctx := context.Background()
	kubectl := func(t *testing.T, args ...string) {
		t.Helper()
		_, err := c.Kubectl(ctx, args...)
		c.must(t, err)
	}
	const excluded = "node.kubernetes.io/exclude-from-external-load-balancers"
	for _, move := range []struct {
		name string
		make func(t *testing.T)
	}{
		{"node labelled out and in", func(t *testing.T) {
			o := s.WatchOwners(s.both())
			defer o.Stop()
			kubectl(t, "label", "node", s.owner, excluded+"=")
			s.moved(t, o, s.both(), s.owner)
			kubectl(t, "label", "node", s.owner, excluded+"-")
		}},
		{"drain and uncordon", func(t *testing.T) {
			kubectl(t, "drain", s.owner, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
			time.Sleep(time.Second)
			kubectl(t, "uncordon", s.owner)
		}},
		{"announcer told to stop", func(t *testing.T) {
			c.must(t, c.KillProcess(s.owner, herald.Announcer, unix.SIGTERM))
		}},
		{"announcer's pod deleted", func(t *testing.T) {
			kubectl(t, "-n", herald.Namespace, "delete", "pod", "-l", "app.kubernetes.io/component=announcer", "--field-selector", "spec.nodeName="+s.owner)
		}},
		{"rolling restart", func(t *testing.T) {
			kubectl(t, "-n", herald.Namespace, "rollout", "restart", "daemonset/announcer")
			c.must(t, c.WaitRollout(ctx))
		}},
	} {
		t.Run(move.name, func(t *testing.T) { s.costsNothing(t, move.make) })
	}
}

// The next version, applied as users apply it, costs no connection either; nor
// does going back to the one before, which is every other round.
func TestUpgradeCostsNothing(t *testing.T) {
	needsTime(t)
	c := onCluster(t)
	s := c.site(t, "upgrade", 2)
	const next = "herald-lb.io/herald:v0.1.0-next"
	image, err := heraldImage(t.Context(), next)
	c.must(t, err)
	c.must(t, c.Load(t.Context(), image))
	t.Cleanup(func() {
		_, err := c.Kubectl(context.Background(), "apply", "-f", deployDir())
		c.must(t, err)
		c.must(t, c.WaitRollout(context.Background()))
	})
	versions, round := [...]string{next, build.HeraldImage}, 0
	s.costsNothing(t, func(t *testing.T) {
		c.must(t, c.Apply(t.Context(), manifestsWith(t, versions[round%len(versions)])))
		round++
		c.must(t, c.WaitRollout(context.Background()))
	})
}

// costsNothing makes a move while clients connect, for some rounds.
func (s *site) costsNothing(t *testing.T, move func(t *testing.T)) {
	t.Helper()
	for round := range rounds() {
		s.settled(t)
		before := s.owner
		o := s.WatchOwners(s.both())
		asking := s.ask(t, s.both())
		start := time.Now()
		move(t)
		s.settled(t)
		o.Stop()
		owners := o.Moves(s.both()[0])
		t.Logf("round %d took %v; owners: %v", round+1, time.Since(start).Round(time.Millisecond), owners)
		asking.noneMoved(t, len(owners)-1)
		if s.owner != before {
			t.Errorf("%s has the address, %s had it before", s.owner, before)
		}
	}
}

// manifestsWith are the shipped manifests with another image.
func manifestsWith(t *testing.T, image string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(deployDir(), "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "---\n%s\n", strings.ReplaceAll(string(b), build.HeraldImage, image))
	}
	return all.String()
}
