// Package bench measures Herald on the machine it runs on, and beside each figure
// the alternative on the same machine in the same run: a bare client, a naive
// allocator, the kernel.
//
//	Benchmark ──► Result: rows of one value per run ──► Report ──► table, picture
//	    │
//	    └── Env: settings, and a lab with Herald on it
//
// A benchmark is a value with a name and a function, in a file of its own. It
// never judges a time: it reports it. Absolute figures of a busy machine say
// little, so what is compared takes turns within a run, and the table shows the
// ratio of each pair with its spread over the runs.
package bench
