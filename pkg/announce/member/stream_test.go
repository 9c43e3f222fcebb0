package member

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// streamEnd is what one end of a stream is to be.
func streamEnd(budget int64, refuse func(refusal), keys ...Key) streamOptions {
	if refuse == nil {
		refuse = func(refusal) {}
	}
	return streamOptions{cluster: "test", ring: ringOfKeys(keys...), budget: budget, refuse: refuse, closed: func() {}}
}

// connectStream does the handshake, the client's first bytes being hello.
func connectStream(t *testing.T, client, server streamOptions) (dialled, accepted *sealedConn, err error) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	a.SetDeadline(time.Now().Add(5 * time.Second))
	b.SetDeadline(time.Now().Add(5 * time.Second))
	done := make(chan error, 1)
	go func() {
		var err error
		if dialled, err = dialStream(a, client); err == nil {
			_, err = dialled.Write([]byte("hello"))
		} else {
			a.Close()
		}
		done <- err
	}()
	accepted, err = acceptStream(b, server)
	if err != nil {
		b.Close()
	}
	return dialled, accepted, errors.Join(err, <-done)
}

func TestStreamCarriesBothWays(t *testing.T) {
	a, b := testKey(t, "a"), testKey(t, "b")
	for _, keys := range [][2][]Key{{{a}, {a}}, {{a, b}, {b}}, {{b}, {a, b}}, {{a, b}, {b, a}}} {
		client, server, err := connectStream(t, streamEnd(1<<20, nil, keys[0]...), streamEnd(1<<20, nil, keys[1]...))
		if err != nil {
			t.Fatalf("%v: %v", keys, err)
		}
		long := make([]byte, 100_000)
		rand.Read(long)
		go func() {
			client.Write(long)
			client.Close()
		}()
		got, err := io.ReadAll(server)
		if err != nil || !bytes.Equal(got, append([]byte("hello"), long...)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	client, server, err := connectStream(t, streamEnd(1<<20, nil, a), streamEnd(1<<20, nil, a))
	if err != nil {
		t.Fatal(err)
	}
	go server.Write([]byte("answer"))
	answer := make([]byte, 6)
	if _, err := io.ReadFull(client, answer); err != nil || string(answer) != "answer" {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestStreamNeedsACommonKeyAndCluster(t *testing.T) {
	a, b := testKey(t, "a"), testKey(t, "b")
	if _, _, err := connectStream(t, streamEnd(1<<20, nil, a), streamEnd(1<<20, nil, b)); !errors.Is(err, refusedKey) {
		t.Errorf("no common key: %v", err)
	}
	other := streamEnd(1<<20, nil, a)
	other.cluster = "other"
	if _, _, err := connectStream(t, streamEnd(1<<20, nil, a), other); !errors.Is(err, refusedForged) {
		t.Errorf("other cluster: %v", err)
	}
}

func TestStreamEndsAtItsBudget(t *testing.T) {
	a := testKey(t, "a")
	var refused []refusal
	client, server, err := connectStream(t, streamEnd(1<<20, nil, a), streamEnd(100_000, func(r refusal) { refused = append(refused, r) }, a))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			if _, err := client.Write(make([]byte, maxFrame)); err != nil {
				return
			}
		}
	}()
	n, err := io.Copy(io.Discard, server)
	server.Close()
	if !errors.Is(err, refusedLong) || n > 100_000 || len(refused) != 1 || refused[0] != refusedLong {
		t.Errorf("%d bytes, %v, %v", n, err, refused)
	}
}

// TestRecordedStreamIsWorthless plays what a client sent to a server again.
func TestRecordedStreamIsWorthless(t *testing.T) {
	a := testKey(t, "a")
	client, server := net.Pipe()
	var sent bytes.Buffer
	go func() {
		d, err := dialStream(recorder{client, &sent}, streamEnd(1<<20, nil, a))
		if err == nil {
			d.Write([]byte("hello"))
		}
	}()
	if _, err := acceptStream(server, streamEnd(1<<20, nil, a)); err != nil {
		t.Fatal(err)
	}
	client, server = net.Pipe()
	go func() {
		io.CopyN(io.Discard, client, 2+4+saltLen)
		client.Write(sent.Bytes())
	}()
	if _, err := acceptStream(server, streamEnd(1<<20, nil, a)); !errors.Is(err, refusedForged) {
		t.Errorf("%v", err)
	}
	server.Close()
}

// recorder keeps what is written.
type recorder struct {
	net.Conn
	sent *bytes.Buffer
}

func (r recorder) Write(b []byte) (int, error) {
	r.sent.Write(b)
	return r.Conn.Write(b)
}

func FuzzAcceptStream(f *testing.F) {
	k := testKey(f, "a")
	h := k.id.hint()
	f.Add(append(append([]byte{wireVersion}, h[:]...), make([]byte, saltLen+2+64)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		client, server := net.Pipe()
		go func() {
			io.CopyN(io.Discard, client, 2+4+saltLen)
			client.Write(b)
			client.Close()
		}()
		if _, err := acceptStream(server, streamEnd(1<<20, nil, k)); err == nil {
			t.Error("taken without the key")
		}
		server.Close()
	})
}
