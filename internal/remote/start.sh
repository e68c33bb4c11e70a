# Runs as the user that the agent is to run as. It makes sure that the agent with the digest
# that was asked for is on this machine, and becomes it. All words are checked here again.

llmhost_say() { printf '\nLLMHOST/1 %s\n' "$*"; }

llmhost_fail() {
	llmhost_say "error $*"
	exit 1
}

# llmhost_good FILE: is it ours alone to change, and does it have the right digest?
llmhost_good() {
	[ -f "$1" ] && [ ! -h "$1" ] && [ -O "$1" ] && [ -O "${1%/*}" ] && [ ! -h "${1%/*}" ] || return 1
	sum=$(sha256sum <"$1") || return 1
	[ "${sum%% *}" = "$digest" ]
}

# llmhost_runs FILE: 1 when this place does not let programs run (noexec).
llmhost_runs() {
	output=$("$1" --version 2>&1 </dev/null)
	status=$?
	[ "$status" = 0 ] && return 0
	[ "$status" = 126 ] && return 1
	llmhost_fail "does-not-run exit status $status: $output"
}

# llmhost_place PLACE: makes the folder for the agent, or says in $reason why it can't.
llmhost_place() {
	dir=$1/$digest
	if ! output=$(mkdir -p "$dir" 2>&1); then
		case $output in
		*"Read-only file system"*) reason="read-only $1" ;;
		*"No space left"*) reason="no-space $1" ;;
		*) reason="no-folder $output" ;;
		esac
		return 1
	fi
	if [ -h "$1" ] || [ -h "$dir" ] || [ ! -O "$1" ] || [ ! -O "$dir" ]; then
		reason="foreign-folder $dir"
		return 1
	fi
	free=$(df -Pk "$dir" | { read -r _ && read -r _ _ _ kib _ && echo "$kib"; })
	if [ "${free:-0}" -lt $((size / 1024 + 1024)) ]; then
		reason="no-space $1"
		return 1
	fi
	if ! incoming=$(mktemp "$dir/.incoming.XXXXXX" 2>&1); then
		case $incoming in
		*"Read-only file system"*) reason="read-only $1" ;;
		*"No space left"*) reason="no-space $1" ;;
		*) reason="no-folder $incoming" ;;
		esac
		return 1
	fi
}

# llmhost_prune PLACE: keeps the two agents that were started last.
llmhost_prune() {
	kept=0
	for name in $(ls -1t "$1"); do
		case $name in *[!0-9a-f]*) continue ;; esac
		[ ${#name} = 64 ] || continue
		kept=$((kept + 1))
		[ "$kept" -le 2 ] || rm -rf "${1:?}/$name"
	done
	find "$1" -name '.incoming.*' -mmin +60 -exec rm -f {} + 2>/dev/null
}

llmhost_become() {
	touch "$1/$digest" 2>/dev/null
	llmhost_prune "$1"
	cd / || exit 1
	exec env -i PATH="$PATH" LC_ALL=C HOME="${HOME:-/}" LLMHOST_STATE_DIR="$state" "$1/$digest/llmhost-agent"
}

# llmhost_own: makes the state folder of the user that this runs as.
llmhost_own() {
	uid=$(id -u)
	state=/var/lib/llmhost
	[ "$uid" = 0 ] && return
	state=${HOME:-/}/.local/state/llmhost
	case $state in
	*[!A-Za-z0-9._/-]*) ;; # the lists of places below are words
	*) mkdir -p "$state" 2>/dev/null && [ -O "$state" ] && [ -w "$state" ] && return ;;
	esac
	# Everybody may make files there, so the folder must be seen to be this user's alone.
	state=/var/tmp/llmhost-$uid
	mkdir -p -m 0700 "$state" 2>/dev/null
	if [ -h "$state" ] || [ ! -d "$state" ] || [ ! -O "$state" ]; then
		llmhost_fail "foreign-folder $state"
	fi
	chmod 0700 "$state" || llmhost_fail "foreign-folder $state"
}

# llmhost_start DIGEST SIZE STATE FALLBACK: STATE is "own" for that of the user who runs this.
# FALLBACK is 1 when other places than the state folder may be used.
llmhost_start() {
	PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
	LC_ALL=C
	export PATH LC_ALL
	umask 077
	digest=$1
	size=$2
	case $digest in "" | *[!0-9a-f]*) llmhost_fail "bad-request digest" ;; esac
	[ ${#digest} = 64 ] || llmhost_fail "bad-request digest"
	case $size in "" | *[!0-9]*) llmhost_fail "bad-request size" ;; esac
	state=$3
	case $state in
	own) llmhost_own ;;
	/*) ;;
	*) llmhost_fail "bad-request state folder" ;;
	esac
	for tool in sha256sum mktemp head df env; do
		command -v $tool >/dev/null 2>&1 || llmhost_fail "no-tool $tool"
	done

	places="$state/agent"
	[ "$4" = 1 ] && places="$places /run/llmhost-agent /opt/llmhost/agent"

	for place in $places; do
		file=$place/$digest/llmhost-agent
		if llmhost_good "$file" && llmhost_runs "$file"; then
			llmhost_become "$place"
		fi
	done

	received=
	reason=
	for place in $places; do
		llmhost_place "$place" || continue
		trap 'rm -f "$incoming" "$received"' EXIT
		trap 'exit 1' HUP INT TERM
		if [ -z "$received" ]; then
			llmhost_say "send $size"
			output=$(head -c "$size" 2>&1 >"$incoming")
			case $output in *"No space left"*) llmhost_fail "no-space $place" ;; esac
			sum=$(sha256sum <"$incoming")
			[ "${sum%% *}" = "$digest" ] || llmhost_fail "digest ${sum%% *} $output"
		else
			if ! cp "$received" "$incoming" 2>/dev/null; then
				rm -f "$incoming"
				continue
			fi
			rm -f "$received"
		fi
		chmod 0755 "$incoming"
		if ! llmhost_runs "$incoming"; then
			received=$incoming
			reason="noexec $place"
			continue
		fi
		sync "$incoming" 2>/dev/null || sync
		mv -f "$incoming" "$place/$digest/llmhost-agent" || llmhost_fail "no-folder $place"
		rm -f "$received"
		sync "$place/$digest" 2>/dev/null
		llmhost_good "$place/$digest/llmhost-agent" || llmhost_fail "digest changed after it was written"
		trap - EXIT HUP INT TERM
		llmhost_become "$place"
	done
	llmhost_fail "${reason:-no-folder $places}"
}
