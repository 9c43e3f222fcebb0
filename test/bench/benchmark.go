package bench

import (
	"context"
	"fmt"
	"time"
)

// Benchmark measures something.
type Benchmark struct {
	Name  string
	About string // what it does, a line
	Run   func(context.Context, *Env) (Result, error)
}

// All lists the benchmarks in the order in which they run: those that need the
// same cluster one after the other.
func All() []Benchmark {
	return []Benchmark{
		allocator(),
		routes(),
		bgpFuzz(),
		burst(),
		restart(),
		resources(),
		reply(),
		bgpIdle(),
		bgpFailover(),
		idle(),
		needless(),
		failover(),
	}
}

// Result is what a benchmark has measured.
type Result struct {
	Rows  []Row
	Notes []string // how to read the rows
	Plot  *Plot    // a picture beside the table, or nil
}

// Row is one figure: a value of each run, and what it is compared with.
type Row struct {
	Name   string
	Unit   string
	Values Sample // one a run
	// Beside are the values of what it is compared with, each of the same run.
	Beside     Sample
	BesideName string
	Goal       string // what the project wants to reach, in words
	Missing    string // why there are no values
}

// missing is a row of something that could not be measured.
func missing(name string, why error) Row { return Row{Name: name, Missing: why.Error()} }

// Settings say how much to measure.
type Settings struct {
	Runs      int           // of what is compared
	Services  int           // of a burst
	Replies   int           // asked for in each run
	Failovers int           // of each kind
	Nodes     []int         // sizes of cluster for failovers
	Addresses []int         // numbers of addresses for failovers
	Stress    time.Duration // under which no owner shall change
	Idle      time.Duration // over which an idle node is watched
	FloodRate int           // frames a second
	Routes    int           // addresses announced by BGP
	Opens     int           // OPENs of hostile routers, and ten messages for each
}

// Full are the settings that the published figures are made with.
func Full() Settings {
	return Settings{
		Runs: 5, Services: 1000, Replies: 500, Failovers: 10,
		Nodes: []int{3, 8}, Addresses: []int{1, 500},
		Stress: 5 * time.Minute, Idle: time.Minute, FloodRate: 50_000,
		Routes: 10_000, Opens: 2000,
	}
}

// Quick are settings that show in minutes that everything can be measured.
func Quick() Settings {
	return Settings{
		Runs: 1, Services: 100, Replies: 50, Failovers: 1,
		Nodes: []int{3}, Addresses: []int{1, 50},
		Stress: 10 * time.Second, Idle: 10 * time.Second, FloodRate: 20_000,
		Routes: 1000, Opens: 100,
	}
}

// String says the settings in a line.
func (s Settings) String() string {
	return fmt.Sprintf("%d runs, %d Services, %d replies, %d failovers of each kind, on %v nodes with %v addresses, %v of each stress, %v idle, flood of %d frames/s, %d routes, %d OPENs",
		s.Runs, s.Services, s.Replies, s.Failovers, s.Nodes, s.Addresses, s.Stress, s.Idle, s.FloodRate, s.Routes, s.Opens)
}
