package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// restartDelay is how long a daemon that ended stays down.
const restartDelay = 2 * time.Second

// supervisor starts the node's programs. It reaps every process of the node,
// since those that lose their parent are left to the first process.
type supervisor struct {
	mu      sync.Mutex                     // guards the field below, from start to registration
	waiting map[int]chan<- unix.WaitStatus // by process id
}

func newSupervisor() *supervisor {
	return &supervisor{waiting: map[int]chan<- unix.WaitStatus{}}
}

// reap collects ended processes for ever.
func (s *supervisor) reap() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	for ; ; <-signals {
		for {
			var status unix.WaitStatus
			s.mu.Lock()
			pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
			ended, ok := s.waiting[pid]
			delete(s.waiting, pid)
			s.mu.Unlock()
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
			if ok {
				ended <- status
			}
		}
	}
}

// start starts a program, found by PATH, with its output in a log of its name.
func (s *supervisor) start(program string, args ...string) (<-chan unix.WaitStatus, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile("/var/log/"+program+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ended := make(chan unix.WaitStatus, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := os.StartProcess(path, append([]string{program}, args...), &os.ProcAttr{Files: []*os.File{nil, log, log}, Dir: "/"})
	if err != nil {
		return nil, err
	}
	s.waiting[p.Pid] = ended
	return ended, p.Release()
}

// run runs a program to its end.
func (s *supervisor) run(program string, args ...string) error {
	ended, err := s.start(program, args...)
	if err != nil {
		return err
	}
	if status := <-ended; status.ExitStatus() != 0 {
		return fmt.Errorf("%s ended with status %d", program, status.ExitStatus())
	}
	return nil
}

// keep starts a daemon, and again whenever it ends, as an init system would.
func (s *supervisor) keep(program string, args ...string) error {
	ended, err := s.start(program, args...)
	if err != nil {
		return err
	}
	go func() {
		for {
			<-ended
			<-time.After(restartDelay)
			if ended, err = s.start(program, args...); err != nil {
				fmt.Fprintf(os.Stderr, "start %s again: %v\n", program, err)
				return
			}
		}
	}()
	return nil
}
