package bgp

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
)

// strangerEnv makes the test program connect to a port, say something and
// leave: another process on the node.
const strangerEnv = "HERALD_TEST_STRANGER"

func TestMain(m *testing.M) {
	if at := os.Getenv(strangerEnv); at != "" {
		c, err := net.Dial("tcp", at)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		c.Write([]byte("stranger"))
		c.Read(make([]byte, 1)) // until it is thrown out
		os.Exit(0)
	}
	goleak.VerifyTestMain(m,
		// A GoBGP server's main loop never ends: see doc.go.
		goleak.IgnoreAnyFunction("github.com/osrg/gobgp/v3/pkg/server.(*BgpServer).Serve"),
		// It leaves a queue behind when a session ends with messages in it.
		goleak.IgnoreTopFunction("github.com/eapache/channels.(*InfiniteChannel).infiniteBuffer"),
	)
}

// connectFromElsewhere starts a process that connects to a port of loopback.
func connectFromElsewhere(t *testing.T, port uint16) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=127.0.0.1:%d", strangerEnv, port))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Wait(); err != nil {
			t.Errorf("the other process: %v", err)
		}
	})
	waitForConnection(t, port)
}
