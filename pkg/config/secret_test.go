package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestSecretIsNotPrinted(t *testing.T) {
	peer := Peer{Name: "tor", Password: "hunter2"}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+" ", peer)
		fmt.Fprintf(&out, verb+" ", &peer)
		fmt.Fprintf(&out, verb+"\n", peer.Password)
	}
	fmt.Fprintln(&out, peer.Password.String(), peer.Password.GoString())
	if err := json.NewEncoder(&out).Encode(peer.Password); err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(&out).Encode(peer); err != nil {
		t.Fatal(err)
	}
	if err := yaml.NewEncoder(&out).Encode(peer.Password); err != nil {
		t.Fatal(err)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("peer", "peer", peer, "password", peer.Password)
	}
	if s := out.String(); strings.Contains(s, "hunter2") || strings.Contains(strings.ToLower(s), fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("the secret is printed:\n%s", s)
	}
	if got := peer.Password.Reveal(); got != "hunter2" {
		t.Errorf("Reveal gives %q", got)
	}
}
