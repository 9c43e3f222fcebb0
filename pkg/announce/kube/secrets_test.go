package kube

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	oneSecret = "peers: [{my-asn: 1, peer-asn: 2, peer-address: 10.0.0.1, password-secret: tor}]"
	noSecret  = "peers: [{my-asn: 1, peer-asn: 2, peer-address: 10.0.0.1}]"
)

func passwordSecret(password string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "herald-system", Name: "tor"},
		Data:       map[string][]byte{"password": []byte(password)},
	}
}

// known says what a Cluster knows of the Secret "tor".
func known(c *announce.Cluster) string {
	p, ok := c.Passwords["tor"]
	switch {
	case !ok:
		return "not read"
	case p.Problem != "":
		return p.Problem
	}
	return p.Value.Reveal()
}

func newSecretServer(secrets ...corev1.Secret) *server {
	s := newServer()
	s.config.list = &corev1.ConfigMapList{ListMeta: listMeta(), Items: []corev1.ConfigMap{*acceptedConfig(oneSecret, "1")}}
	s.secrets = map[string]*kind{"tor": {list: &corev1.SecretList{ListMeta: listMeta(), Items: secrets}}}
	return s
}

func TestSourceFollowsTheSecretsThatPeersName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSecretServer()
		s.secrets["tor"].setAway(true)
		defer s.start(t, nil)()
		pass(time.Second)
		if first := s.delivered[0]; known(first) != "not read" {
			t.Errorf("before it was read: %s", known(first))
		}
		s.secrets["tor"].setAway(false)
		pass(time.Minute)
		for _, c := range []struct {
			name   string
			change func()
			want   string
		}{
			{"missing", func() {}, "there is no Secret tor in Herald's namespace"},
			{"created", func() { s.secrets["tor"].watcher.Add(passwordSecret("first\n")) }, "first"},
			{"changed", func() { s.secrets["tor"].watcher.Modify(passwordSecret("second")) }, "second"},
			{"broken", func() { s.secrets["tor"].watcher.Modify(passwordSecret("")) }, "second"},
			{"too long", func() { s.secrets["tor"].watcher.Modify(passwordSecret(strings.Repeat("x", 81))) }, "second"},
			{"deleted", func() { s.secrets["tor"].watcher.Delete(passwordSecret("")) }, "second"},
			{"not named any more", func() { s.config.watcher.Modify(acceptedConfig(noSecret, "2")) }, "not read"},
		} {
			c.change()
			pass(time.Second)
			if got := known(s.last(t)); got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
		}
		if diff := cmp.Diff([]string{"tor"}, s.asked); diff != "" {
			t.Errorf("asked for (-want +got):\n%s", diff)
		}
	})
}

func TestSecretsThatAreNoGood(t *testing.T) {
	for name, want := range map[string]string{
		"":                      `Secret tor has no entry "password"`,
		strings.Repeat("x", 81): "the password in Secret tor has 81 bytes: the kernel takes at most 80",
	} {
		if p, ok := convertSecret(passwordSecret(name)); !ok || p.Problem != want || p.Value != "" {
			t.Errorf("%+v, want %s", p, want)
		}
	}
}

// A restart during an outage needs the passwords; nothing else may show them.
func TestPasswordsOutliveARestartAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const password = "do-not-tell"
		dir := t.TempDir()
		var log bytes.Buffer
		state := NewState(slog.New(slog.NewTextHandler(&log, nil)), dir)
		s := newSecretServer(*passwordSecret(password))
		stop := s.start(t, state)
		pass(time.Minute)
		stop()
		file, err := os.Stat(filepath.Join(dir, stateFile))
		if err != nil || file.Mode().Perm() != 0o600 {
			t.Fatalf("state file: %v, %v", file.Mode(), err)
		}
		for _, k := range slices.Concat(s.all(), []*kind{s.secrets["tor"]}) {
			k.setAway(true)
		}
		defer s.start(t, state)()
		pass(patience + time.Second)
		c := s.last(t)
		if got := known(c); c.Freshness != announce.Saved || got != password {
			t.Errorf("%v, %s", c.Freshness, got)
		}
		slog.New(slog.NewJSONHandler(&log, nil)).Info("cluster", "passwords", c.Passwords)
		if strings.Contains(log.String(), password) {
			t.Errorf("logged: %s", &log)
		}
		// The API server is back, the Secret not read yet: the session stays.
		for _, k := range s.all() {
			k.setAway(false)
		}
		pass(10 * time.Second)
		if c := s.last(t); c.Freshness != announce.Live || known(c) != password {
			t.Errorf("after the outage: %v, %s", c.Freshness, known(c))
		}
	})
}

func TestEventsOnNodes(t *testing.T) {
	e := newEvent(Notice{Node: "n1", Warning: true, Reason: "BGPSessionDown", Message: "gone"}, "n1", time.Now())
	want := corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: "n1", UID: types.UID("n1")}
	if diff := cmp.Diff(want, e.InvolvedObject); diff != "" || e.Namespace != "default" || !strings.HasPrefix(e.Name, "n1.") {
		t.Errorf("%s/%s: object (-want +got):\n%s", e.Namespace, e.Name, diff)
	}
}
