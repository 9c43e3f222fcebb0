// Package config reads the one document that configures Herald.
package config
