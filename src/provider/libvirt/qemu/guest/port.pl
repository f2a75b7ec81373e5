# The controller's hand in a virtual machine: runs commands and handles files, over one virtio port.
#
#     perl guest.pl PORT VERSION FOLDER MARK        PORT may be `-`: standard input, a socket
#
# There is one at a time. A new one first ends the one before it and whatever that one ran, so that a hook can run again
# without two of them at work. All that it runs ends when the controller's end of the port is closed, or another one
# greets; then it waits for the next. FOLDER is where it writes down what must be ended if it is killed itself.
#
# It says "\nencanto MARK\n" once, when it has the port. A controller, the one that started it or a later one, says
# "\nencanto VERSION NONCE\n" and gets the same line back. Both sides skip all before it: what
# an earlier controller left in the port. Then come frames: number of the command (4 bytes), a letter, length (4 bytes),
# body. A stream's sender has WINDOW bytes ahead of what the other side says it took (`T`), so nobody holds up anybody
# else, and nothing grows. Perl's own modules only: those of `perl-base`, which every Debian has.
use strict;
use warnings;
no warnings 'exec';
use Errno qw(EAGAIN EINTR ENOENT ENOTDIR EBUSY EISDIR EINVAL EPIPE EIO);
use Fcntl qw(O_RDONLY O_RDWR O_WRONLY O_CREAT O_EXCL O_NONBLOCK O_NOCTTY O_ASYNC F_GETFL F_SETFL F_SETOWN S_IMODE);
use POSIX ();

use constant { WINDOW => 262144, CHUNK => 65536, QUEUE => 262144, BODY => 1048576 };
use constant { O_CLOEXEC => 0x80000, SIGIO => 29 };
use constant { TIOCSPTLCK => 0x40045431, TIOCGPTN => 0x80045430, TIOCSCTTY => 0x540E, TIOCSWINSZ => 0x5414 };
# Calls that Perl has no names for.
my %CALLS = (x86_64 => [157, 289], aarch64 => [167, 74], riscv64 => [167, 74], i686 => [172, 327]);
my ($PRCTL, $SIGNALFD) = @{ $CALLS{ (POSIX::uname())[4] } // die "unknown processor: " . (POSIX::uname())[4] . "\n" };
my $PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

my ($place, $version, $folder, $mark) = @ARGV;
# Signals come by a handle: by Perl's own way one that comes just before a `select` ends no `select`.
my ($port, $signals);
my ($input, $output) = ('', '');
my (%runs, %number_of);    # number => what runs; process id => number
# The controller is gone; this process is to end.
my ($lost, $ending) = (0, 0);
my $announced = 0;

main();

sub main {
    umask 022;
    chdir '/';
    $SIG{PIPE} = 'IGNORE';
    catch_signals(POSIX::SIGCHLD(), SIGIO, POSIX::SIGTERM(), POSIX::SIGHUP());
    write_text('/proc/self/oom_score_adj', '-900');
    make_folders("$folder/commands");
    end_predecessor();
    note("$folder/agent", $$);
    open_port();
    until ($ending) {
        await_greeting() or next;
        take_frames();    # those that came with the greeting
        serve() until $lost or $ending;
        end_all();
    }
    # Somebody may still listen: the machine is shut down, or has a new helper.
    report(0, 'b', '');
    flush_port();
    POSIX::_exit(0);
}

sub catch_signals {
    my @numbers = @_;
    POSIX::sigprocmask(POSIX::SIG_BLOCK(), POSIX::SigSet->new(@numbers));
    my $mask = 0;
    $mask |= 1 << $_ - 1 for @numbers;
    my $handle = syscall $SIGNALFD, -1, pack('LL', $mask, 0), 8, O_NONBLOCK | O_CLOEXEC;
    die "signalfd: $!\n" if $handle < 0;
    open $signals, '<&=', $handle or die "open signals: $!\n";
}

sub take_signals {
    return unless sysread $signals, my ($told), 128 * 16;
    # The number is the first of each one's 128 bytes.
    for my $number (unpack '(L x124)*', $told) {
        $ending = 1 if $number == POSIX::SIGTERM() or $number == POSIX::SIGHUP();
    }
}

# --- Those before ---

sub end_predecessor {
    my $pid = noted("$folder/agent");
    if ($pid and $pid != $$) {
        kill 'TERM', $pid;
        for my $round (1 .. 400) {
            last unless noted("$folder/agent");
            kill 'KILL', $pid if $round == 200;
            select undef, undef, undef, 0.01;
        }
    }
    opendir my $dir, "$folder/commands" or return;
    for my $entry (grep { /^\d+$/ } readdir $dir) {
        # The first process may be gone before the others of its group; then nobody can have its number.
        kill 'KILL', -$entry if noted("$folder/commands/$entry") or !-e "/proc/$entry" or !defined began($entry);
        unlink "$folder/commands/$entry";
    }
}

# When a process began tells it from another that was given the same number later.
sub began {
    my ($pid) = @_;
    open my $file, '<', "/proc/$pid/stat" or return;
    my $text = <$file> // return;
    $text =~ s/.*\) //s;
    my @fields = split ' ', $text;
    return if $fields[0] eq 'Z';
    return $fields[19];
}

sub note {
    my ($path, $pid) = @_;
    write_text($path, "$pid " . (began($pid) // 0));
}

sub noted {
    my ($path) = @_;
    open my $file, '<', $path or return;
    my ($pid, $time) = split ' ', <$file> // '';
    return unless $pid and $time;
    my $began = began($pid);
    return defined $began && $began eq $time ? $pid : undef;
}

sub write_text {
    my ($path, $text) = @_;
    sysopen my $file, $path, O_WRONLY | O_CREAT, 0600 or return;
    truncate $file, 0;
    syswrite $file, $text;
}

# --- The port ---

sub open_port {
    if ($place eq '-') {
        open $port, '+<&', \*STDIN or die "open standard input: $!\n";
        open STDIN, '<', '/dev/null' or die "open /dev/null: $!\n";
    } else {
        my $tries = 0;
        # The one before has just ended, or its end is near.
        until (sysopen $port, $place, O_RDWR | O_NONBLOCK) {
            die "open $place: $!\n" if ($! != EBUSY and $! != ENOENT) or ++$tries > 500;
            select undef, undef, undef, 0.01;
        }
    }
    quick($port);
    fcntl $port, F_SETOWN, $$;
    fcntl $port, F_SETFL, (fcntl $port, F_GETFL, 0) | O_ASYNC;
}

# Waits for a controller; whether one has come.
sub await_greeting {
    $output = '';
    until ($ending) {
        $lost = 0;
        my $here = take_input();
        # What is said is heard a moment before the port tells of its speaker; an answer would get lost till then.
        return answer() if $here and $input =~ /\nencanto \Q$version\E [0-9a-f]+\n/;
        # One that wants another version brings its own.
        $ending = 1 if $input =~ /\nencanto (?!\Q$version\E )[0-9a-f]+ [0-9a-f]+\n/;
        last if $ending;
        substr $input, 0, -128, '' if length $input > 128;
        # Not before somebody is there: the port forgets what it cannot hand on.
        $announced = 1 if !$announced and $here and syswrite $port, "\nencanto $mark\n";
        # The port of a controller that is not there can always be read: its coming is told by a signal.
        my $read = '';
        vec($read, fileno $port, 1) = 1 if $here;
        vec($read, fileno $signals, 1) = 1;
        take_signals() if select($read, undef, undef, undef) > 0 and vec $read, fileno $signals, 1;
        reap();
    }
    return 0;
}

# The greeting was the last match: what is before it is nobody's.
sub answer {
    $output = substr $input, $-[0], $+[0] - $-[0];
    substr $input, 0, $+[0], '';
    flush_port();
    return 1;
}

# Whether anybody is at the other end. A port hands out a page at a time, hence the rounds.
sub take_input {
    for (1 .. 16) {
        my $count = sysread $port, $input, CHUNK, length $input;
        next if $count;
        return 1 if !defined $count and ($! == EAGAIN or $! == EINTR);
        $lost = 1;
        $ending = 1 if $place eq '-';    # a socket is no port: nobody comes again
        return 0;
    }
    return 1;
}

sub flush_port {
    while (length $output) {
        my $count = syswrite $port, $output, CHUNK;
        if (!defined $count) {
            $lost = 1 unless $! == EAGAIN or $! == EINTR;
            return;
        }
        substr $output, 0, $count, '';
    }
}

sub report {
    my ($number, $letter, $body) = @_;
    $output .= pack('Na1N', $number, $letter, length $body) . $body;
}

# --- One round ---

sub serve {
    my ($read, $write) = ('', '');
    vec($read, fileno $port, 1) = 1;
    vec($read, fileno $signals, 1) = 1;
    vec($write, fileno $port, 1) = 1 if length $output;
    my $room = length $output < QUEUE;
    for my $run (values %runs) {
        for my $stream (1, 2) {
            my $handle = $run->{$stream};
            vec($read, fileno $handle, 1) = 1 if $handle and $room and $run->{ahead}[$stream] > 0;
        }
        vec($write, fileno $run->{0}, 1) = 1 if $run->{0} and length $run->{input};
    }
    my $count = select $read, $write, undef, undef;
    return if $count <= 0;
    take_signals() if vec $read, fileno $signals, 1;
    if (vec $read, fileno $port, 1) {
        take_input();
        take_frames();
    }
    for my $number (keys %runs) {
        my $run = $runs{$number} or next;
        feed($number, $run) if $run->{0} and length $run->{input};
        for my $stream (1, 2) {
            my $handle = $run->{$stream} or next;
            drain($number, $run, $stream) if $run->{ahead}[$stream] > 0 and vec $read, fileno $handle, 1;
        }
    }
    # After the streams, so that what a command said last is on its way before its end.
    reap();
    flush_port();
}

sub take_frames {
    my $at = 0;
    while (length($input) - $at >= 9) {
        my ($number, $letter, $length) = unpack 'Na1N', substr $input, $at, 9;
        # No frame: another controller's greeting, after this machine's memory was put back.
        if ($length > BODY) { $lost = 1; last }
        last if length($input) - $at - 9 < $length;
        take($number, $letter, substr $input, $at + 9, $length);
        $at += 9 + $length;
    }
    substr $input, 0, $at, '';
}

sub take {
    my ($number, $letter, $body) = @_;
    return begin($number, unpack '(N/a*)*', $body) if $letter eq 'X';
    return report($number, 'p', '') if $letter eq 'P';
    my $run = $runs{$number} or return;
    if ($letter eq 'I') { $run->{input} .= $body; feed($number, $run) }
    elsif ($letter eq 'E') { $run->{last} = 1; feed($number, $run) }
    elsif ($letter eq 'T') { my ($stream, $amount) = unpack 'CN', $body; $run->{ahead}[$stream] += $amount }
    elsif ($letter eq 'W') { resize($run->{1}, unpack 'nn', $body) if $run->{terminal} and $run->{1} }
    elsif ($letter eq 'K') { put_down($run) }
    elsif ($letter eq 'Q') { shut($run, unpack 'C', $body) }
    elsif ($letter eq 'F') { put_down($run); shut($run, $_) for 0 .. 2; delete $runs{$number} }
}

# Hands what came for the command on to it.
sub feed {
    my ($number, $run) = @_;
    my $handle = $run->{0};
    if (!$handle) { $run->{input} = ''; return }
    while (length $run->{input}) {
        my $count = syswrite $handle, $run->{input}, CHUNK;
        if (!defined $count) {
            return if $! == EAGAIN or $! == EINTR;
            $run->{input} = '';
            shut($run, 0);
            return report($number, 'C', '');
        }
        substr $run->{input}, 0, $count, '';
        report($number, 'T', pack 'N', $count);
    }
    # A terminal has no end that could be sent.
    shut($run, 0) if $run->{last} and !$run->{terminal};
}

sub drain {
    my ($number, $run, $stream) = @_;
    my $most = $run->{ahead}[$stream] < CHUNK ? $run->{ahead}[$stream] : CHUNK;
    my $count = sysread $run->{$stream}, my ($chunk), $most;
    if ($count) {
        $run->{ahead}[$stream] -= $count;
        return report($number, $stream == 1 ? 'o' : 'e', $chunk);
    }
    return if !defined $count and ($! == EAGAIN or $! == EINTR);
    shut($run, $stream);    # a terminal says EIO where a pipe says end of file
    report($number, 'q', pack 'C', $stream);
}

sub reap {
    while ((my $pid = waitpid -1, POSIX::WNOHANG()) > 0) {
        my $status = $?;
        my $number = delete $number_of{$pid} // next;
        unlink "$folder/commands/$pid";
        my $run = $runs{$number} or next;
        next unless $run->{pid} == $pid;
        $run->{ended} = 1;
        # What is in its pipes already goes first.
        for my $stream (1, 2) {
            drain($number, $run, $stream) if $run->{$stream} and $run->{ahead}[$stream] > 0;
        }
        my $code = POSIX::WIFSIGNALED($status) ? 128 + POSIX::WTERMSIG($status) : POSIX::WEXITSTATUS($status);
        report($number, 'z', pack 'N', $code);
    }
}

# It is not reaped yet, so its number cannot belong to anyone else. The group may not be there yet, hence both.
sub put_down {
    my ($run) = @_;
    kill 'KILL', -$run->{pid}, $run->{pid} unless $run->{ended};
}

sub shut {
    my ($run, $stream) = @_;
    my $handle = delete $run->{$stream} or return;
    close $handle;
}

sub end_all {
    put_down($_) for values %runs;
    unlink "$folder/commands/$_" for keys %number_of;
    # Closes what was theirs. Whoever was told to end is reaped later, as nobody's.
    %runs = %number_of = ();
}

# --- Beginning ---

sub begin {
    my ($number, $what, @words) = @_;
    my $run = { input => '', ahead => [0, WINDOW, WINDOW] };
    my $failed = $what eq 'run' ? begin_command($run, @words) : begin_file_work($run, @words);
    return report($number, @$failed) if $failed;
    $runs{$number} = $run;
    $number_of{ $run->{pid} } = $number;
    note("$folder/commands/$run->{pid}", $run->{pid});
    report($number, 'r', '');
}

sub refused { my ($step, $errno) = @_; return ['f', pack 'N/a*N', $step, $errno + 0] }

sub begin_command {
    my ($run, $user, $cwd, $columns, $rows, $count, @words) = @_;
    my @argv = splice @words, 0, $count;
    $user = 'root' if $user eq '';
    my ($uid, $gid, $home, @groups) = find_user($user);
    ($uid, $gid, $home) = (0, 0, '/root') if !defined $uid and $user eq 'root';
    return ['u', $user] unless defined $uid;
    if ($cwd ne '') {
        return refused("enter the folder $cwd", $!) unless chdir $cwd;
    } else {
        chdir $home or chdir '/';
    }
    my %environment = (PATH => $PATH, HOME => $home, USER => $user, LANG => 'C.UTF-8');
    $environment{TERM} = 'xterm-256color' if $columns;
    %environment = (%environment, @words);
    my $failed = launch($run, $columns, $rows, sub {
        return fail("cannot become $user", 126) unless become($uid, $gid, @groups);
        # Even if this helper is killed. A change of user clears it, hence the place.
        syscall $PRCTL, 1, 9, 0, 0, 0;
        %ENV = %environment;
        exec { $argv[0] } @argv;
        return fail("$argv[0]: $!", $! == ENOENT ? 127 : 126);
    });
    chdir '/';
    return $failed;
}

sub begin_file_work {
    my ($run, @words) = @_;
    return launch($run, 0, 0, sub {
        # It is no other program that would be rid of these by itself.
        close $_ for $port, $signals, map { grep { $_ } @$_{ 0 .. 2 } } $run, values %runs;
        my @answer = file_work(@words);
        syswrite STDERR, pack '(N/a*)*', @answer;
        return 0;
    });
}

sub launch {
    my ($run, $columns, $rows, $work) = @_;
    my @theirs;
    if ($columns) {
        my $failed = open_terminal($run, \@theirs, $columns, $rows);
        return $failed if $failed;
    } else {
        for my $stream (0 .. 2) {
            pipe my $reader, my $writer or return refused('make a pipe', $!);
            ($run->{$stream}, $theirs[$stream]) = $stream ? ($reader, $writer) : ($writer, $reader);
        }
    }
    quick($run->{$_}) for grep { $run->{$_} } 0 .. 2;
    my $pid = fork // return refused('fork', $!);
    if ($pid == 0) {
        POSIX::setsid();
        # A shell that starts something in the background has it ignore the last two.
        $SIG{$_} = 'DEFAULT' for qw(PIPE TERM HUP CHLD IO INT QUIT);
        POSIX::sigprocmask(POSIX::SIG_SETMASK(), POSIX::SigSet->new);
        POSIX::dup2(fileno $theirs[$_], $_) for 0 .. 2;
        @theirs = ();
        ioctl STDIN, TIOCSCTTY, 0 if $columns;
        write_text('/proc/self/oom_score_adj', '0');
        POSIX::_exit($work->());
    }
    $run->{pid} = $pid;
    return;
}

sub open_terminal {
    my ($run, $theirs, $columns, $rows) = @_;
    sysopen my $master, '/dev/ptmx', O_RDWR | O_NOCTTY or return refused('open a terminal', $!);
    my $number = pack 'i', 0;
    ioctl $master, TIOCSPTLCK, $number or return refused('unlock the terminal', $!);
    ioctl $master, TIOCGPTN, $number or return refused('name the terminal', $!);
    my $name = '/dev/pts/' . unpack 'i', $number;
    sysopen my $slave, $name, O_RDWR | O_NOCTTY or return refused("open the terminal's other end", $!);
    resize($slave, $columns, $rows);
    # A handle of its own for each direction: one may be shut before the other.
    open my $writer, '>&', $master or return refused('copy the terminal', $!);
    @$run{ 'terminal', 0, 1 } = (1, $writer, $master);
    @$theirs = ($slave, $slave, $slave);
    return;
}

sub resize {
    my ($terminal, $columns, $rows) = @_;
    my $size = pack 'S4', $rows, $columns, 0, 0;
    ioctl $terminal, TIOCSWINSZ, $size;
}

sub quick { my ($handle) = @_; fcntl $handle, F_SETFL, (fcntl $handle, F_GETFL, 0) | O_NONBLOCK }

sub fail { my ($words, $code) = @_; syswrite STDERR, "$words\n"; return $code }

sub become {
    my ($uid, $gid, @groups) = @_;
    $) = join ' ', $gid, @groups;
    return POSIX::setgid($gid) && POSIX::setuid($uid) && $> == $uid;
}

sub find_user {
    my ($name) = @_;
    my (undef, undef, $uid, $gid, undef, undef, undef, $home) = getpwnam $name or return;
    my @groups = ($gid);
    while (my (undef, undef, $id, $members) = getgrent) {
        push @groups, $id if $id != $gid and grep { $_ eq $name } split ' ', $members;
    }
    endgrent;
    return ($uid, $gid, $home, @groups);
}
