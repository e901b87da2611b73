package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// sayLeft says where the plaintext of these keys still lies, who may keep copies of it there, and how to be rid of it.
// first is what is to be known before anything is deleted.
func (a *app) sayLeft(sources []*source, first string) {
	var files, variables []string
	for _, s := range sources {
		if s.keyFile != "" {
			files = append(files, absolute(s.keyFile))
		}
		if s.variable != "" {
			variables = append(variables, s.variable)
		}
	}
	slices.Sort(files)
	files = slices.Compact(files)
	switch len(files) {
	case 0:
	case 1:
		cli.Printf(a.Stderr, "The plaintext key still lies in %s. %s\n", cli.Printable(files[0]), first)
	default:
		cli.Printf(a.Stderr, "The plaintext of %d keys still lies in files. %s\n", len(files), first)
	}
	for _, keeper := range keepers(files) {
		cli.Printf(a.Stderr, "%s\n", keeper)
	}
	if len(files) > 0 {
		command, caveat := erase(runtime.GOOS)
		cli.Printf(a.Stderr, "Delete it, and every copy (downloads, mail, backups, the trash):\n  %s %s\n%s\n", command, strings.Join(quoteAll(files), " "), caveat)
	}
	for _, v := range variables {
		cli.Printf(a.Stderr, "The plaintext key still lies in the environment variable %s, and where that was set: the secrets of a CI, an .env file, a shell's history.\n"+
			"Delete it there, and: unset %s\n", v, v)
	}
	if len(files)+len(variables) > 0 {
		cli.Printf(a.Stderr, "If somebody else may have read it, deleting is not enough: make a new key at Apple, import it as a new version, and revoke this one.\n")
	}
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// erase is the command that deletes files on a system, and what it cannot do.
func erase(system string) (command, caveat string) {
	const blocks = "On an SSD, a network share or a file system that copies on write, "
	switch system {
	case "linux":
		return "shred -u --", blocks + "the old blocks may stay until they are used again: shred overwrites in place and cannot reach them."
	case "darwin":
		return "rm --", blocks + "which APFS is, the old blocks stay until they are used again (rm -P changes nothing); FileVault protects them. Time Machine keeps copies."
	case "windows":
		return "del", blocks + "the old blocks may stay until they are used again; BitLocker protects them. File History keeps copies."
	default:
		return "rm --", blocks + "the old blocks may stay until they are used again."
	}
}

// keepers are those who may keep copies of the files, a sentence for each: git, and what syncs folders.
func keepers(files []string) []string {
	var all []string
	trees := map[string][]string{}
	for _, file := range files {
		if real, err := filepath.EvalSymlinks(file); err == nil {
			file = real
		}
		if tree := gitTree(filepath.Dir(file)); tree != "" {
			trees[tree] = append(trees[tree], file)
		}
		if service := syncedBy(file); service != "" {
			all = append(all, "It lies in a folder that "+service+" syncs: copies and old versions are there and on other devices.")
		}
	}
	for tree, in := range trees {
		what := in[0]
		if len(in) > 1 {
			what = tree
		}
		all = append(all, "It lies in the git work tree "+cli.Printable(tree)+": if it was ever committed, the history keeps it, here and in every clone, whatever is deleted. "+
			"See: git -C "+cli.Quoted(tree)+" log --all --oneline -- "+cli.Quoted(what))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// gitTree is the git work tree that a folder is in, or empty.
func gitTree(dir string) string {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// synced are the names of folders whose contents a service copies elsewhere, and that service.
var synced = []struct{ folder, service string }{
	{"Mobile Documents", "iCloud"}, {"com~apple~CloudDocs", "iCloud"}, {"iCloudDrive", "iCloud"}, {"iCloud Drive", "iCloud"},
	{"Dropbox", "Dropbox"}, {"Google Drive", "Google Drive"}, {"GoogleDrive", "Google Drive"}, {"My Drive", "Google Drive"},
	{"OneDrive", "OneDrive"}, {"CloudStorage", "a cloud service"}, {"Nextcloud", "Nextcloud"},
}

// syncedBy is the service that syncs one of the folders of a path, by their usual names; empty when none does.
func syncedBy(path string) string {
	for part := range strings.SplitSeq(filepath.ToSlash(filepath.Dir(path)), "/") {
		for _, s := range synced {
			// Accounts are written behind: OneDrive - Acme, Dropbox (Acme), GoogleDrive-me@acme.com.
			if rest, ok := strings.CutPrefix(part, s.folder); ok && (rest == "" || rest[0] == ' ' || rest[0] == '-') {
				return s.service
			}
		}
	}
	return ""
}

func quoteAll(all []string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = cli.Quoted(s)
	}
	return out
}
