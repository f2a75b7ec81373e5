# The second half of the controller's hand in a virtual machine.

# --- Files: in a process of their own, since any of it may take long ---

sub file_work {
    my ($action, $path, @more) = @_;
    return read_file($path, @more) if $action eq 'read';
    return write_file($path, @more) if $action eq 'write';
    return look_at($path) if $action eq 'stat';
    return remove_file($path) if $action eq 'remove';
    return ('failed', 'understand', EINVAL);
}

sub absent { return $! == ENOENT || $! == ENOTDIR }

sub failed { my ($step) = @_; return ('failed', $step, $! + 0) }

sub read_file {
    my ($path, $limit) = @_;
    # A FIFO must not block.
    my $opened = sysopen my $file, $path, O_RDONLY | O_NONBLOCK | O_NOCTTY;
    return absent() ? 'no-file' : failed('open') unless $opened;
    return ('failed', 'read', EISDIR) unless -f $file;
    return 'too-large' if -s _ > $limit;
    my $left = $limit;
    while (1) {
        my $count = sysread $file, my ($chunk), CHUNK;
        return failed('read') unless defined $count;
        return 'done' if $count == 0;
        # The size said too little: files of /proc have none.
        return 'too-large' if ($left -= $count) < 0;
        put(\*STDOUT, $chunk) or return failed('send');
    }
}

sub put {
    my ($handle, $bytes) = @_;
    while (length $bytes) {
        my $count = syswrite $handle, $bytes;
        if (!defined $count) { next if $! == EINTR; return 0 }
        substr $bytes, 0, $count, '';
    }
    return 1;
}

sub look_at {
    my ($path) = @_;
    my @data = lstat $path;
    return absent() ? 'no-file' : failed('stat') unless @data;
    my $kind = -l _ ? 'symlink' : -f _ ? 'file' : -d _ ? 'directory' : 'other';
    return ('stat', $kind, S_IMODE($data[2]), @data[4, 5, 7]);
}

sub remove_file {
    my ($path) = @_;
    if (!lstat $path) { return absent() ? 'done' : failed('remove') }
    if (-d _) {
        require File::Path;
        File::Path::remove_tree($path, { safe => 0, error => \my $errors });
        return ('failed', 'remove', EBUSY) if @$errors and lstat $path;
        return 'done';
    }
    return unlink($path) || absent() ? 'done' : failed('remove');
}

sub write_file {
    my ($path, $length, $mode, $user, $group) = @_;
    my ($uid, $gid);
    if ($user ne '') {
        (undef, undef, $uid, $gid) = getpwnam $user;
        return ('no-user', $user) unless defined $uid;
    }
    if ($group ne '') {
        $gid = getgrnam $group;
        return ('no-user', $group) unless defined $gid;
    }
    # A symlink to a file keeps being one: its target is what is replaced.
    if (-e $path) { require Cwd; $path = Cwd::abs_path($path) // $path }
    my @old = stat $path;
    return ('failed', 'replace', EISDIR) if @old and !-f _;
    if (@old) {
        $mode = S_IMODE($old[2]) if $mode eq '';
        $uid //= $old[4];
        $gid //= $old[5];
    }
    my ($parent, $name) = $path =~ m{^(.*)/([^/]*)\z}s;
    make_folders($parent) or return failed('make the folder of');
    my $fresh = "$parent/.$name.encanto-new";
    unlink $fresh;
    sysopen my $file, $fresh, O_WRONLY | O_CREAT | O_EXCL, 0600 or return failed('create');
    my $took = copy_input($file);
    # After the owner: a change of owner clears set-id bits.
    my $done = defined $took && $took == $length && chown($uid // 0, $gid // 0, $file)
        && chmod($mode eq '' ? 0644 : $mode, $file) && rename($fresh, $path);
    return 'done' if $done;
    my @answer = defined $took && $took != $length ? ('failed', 'take all of', EPIPE) : failed('write');
    unlink $fresh;
    return @answer;
}

sub copy_input {
    my ($file) = @_;
    my $took = 0;
    while (1) {
        my $count = sysread STDIN, my ($chunk), CHUNK;
        next if !defined $count and $! == EINTR;
        return unless defined $count;
        return $took if $count == 0;
        put($file, $chunk) or return;
        $took += $count;
    }
}

sub make_folders {
    my ($path) = @_;
    return 1 if $path eq '' or -d $path;
    my ($parent) = $path =~ m{^(.*)/[^/]*\z}s;
    return make_folders($parent // '') && (mkdir($path, 0755) || -d $path);
}
