// Package announce decides which node announces which address, and how.
package announce
