// SPDX-License-Identifier: Apache-2.0
// Processes that die, disks that fill, folders that may not be written, two writers. Each runs in a forked child, which
// leaves by _exit and reports over a pipe.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "kpt/tracking/schema.h"
#include "kpt/tracking/store.h"
#include "kpt/tracking/test_util.h"

namespace kpt {
namespace {

struct Child {
  pid_t pid;
  int out;  // what it writes
};

Child start(const std::function<void(int)>& body) {
  int ends[2];
  KPT_ASSERT(pipe(ends) == 0, "test", "no pipe");
  const pid_t pid = fork();
  KPT_ASSERT(pid >= 0, "test", "no child");
  if (pid == 0) {
    close(ends[0]);
    body(ends[1]);
    _exit(0);
  }
  close(ends[1]);
  return {pid, ends[0]};
}

std::string finish(const Child& child) {
  std::string text;
  char part[4096];
  for (ssize_t n; (n = read(child.out, part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(n));
  close(child.out);
  int status = 0;
  waitpid(child.pid, &status, 0);
  return text;
}

void say(int out, const std::string& text) {
  KPT_ASSERT(write(out, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "test", "pipe");
}

// What a call throws in a child: "resource: message", or "none".
void say_outcome(int out, const std::function<void()>& body) {
  try {
    body();
    say(out, "none");
  } catch (const Error& e) {
    say(out, cat(name(e.kind()), ": ", e.what()));
  }
}

// In memory where that is possible: a kill spares the page cache, so a disk adds nothing but waiting, and without the
// waiting more kills fall into the writing itself.
std::filesystem::path fast_folder() {
  const char* const memory = "/dev/shm";
  return access(memory, W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
}

// A child records as fast as it can and names each id once record() has returned; it is killed at a random moment.
// Every id that it named must be there with its numbers, and the file must be whole.
TEST(Durability, TwoHundredKillsLoseNoFinishedRecord) {
  const TempFolder folder(fast_folder());
  const std::string path = folder.file("h.db");
  std::mt19937 random(5);
  int64_t finished = 0, without = 0;
  for (int kill_number = 0; kill_number < 200; ++kill_number) {
    const Child child = start([&](int out) {
      History history = History::open(path, OpenMode::write);
      for (int i = 0;; ++i) {
        const int64_t id = history.record(sample_record("m", i % 50, 300));
        KPT_ASSERT(write(out, &id, sizeof id) == sizeof id, "test", "pipe");
      }
    });
    // Every other kill waits for the first record, so that a slow machine still kills writers and not beginners.
    std::string reported;
    if (kill_number % 2) {
      reported.resize(sizeof(int64_t));
      KPT_ASSERT(read(child.out, reported.data(), reported.size()) == sizeof(int64_t), "test", "no first record");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20000));
    kill(child.pid, SIGKILL);
    reported += finish(child);
    std::vector<int64_t> ids(reported.size() / sizeof(int64_t));
    if (!ids.empty()) std::memcpy(ids.data(), reported.data(), ids.size() * sizeof(int64_t));
    finished += static_cast<int64_t>(ids.size());
    without += ids.empty();
    if (!std::filesystem::exists(path)) continue;  // killed before it had made the file
    History history = History::open(path, OpenMode::write);
    ASSERT_EQ(history.check(), "ok") << "after kill " << kill_number;
    for (int64_t id : ids) {
      const auto r = history.get(id);
      ASSERT_TRUE(r) << "record " << id << " lost by kill " << kill_number;
      Record again = *r;
      complete(again);
      ASSERT_EQ(again.content, r->content) << "record " << id << " changed by kill " << kill_number;
    }
  }
  const History history = History::open(path, OpenMode::read);
  const std::vector<Record> all = history.list({});
  // Those that were not reported are whole too: all of a record is there, or nothing of it.
  for (Record r : all) {
    const std::string content = r.content;
    ASSERT_EQ(message_of([&] { complete(r); }), "") << "record " << r.id << " is half a record";
    ASSERT_EQ(r.content, content) << "record " << r.id;
  }
  const auto kept = static_cast<int64_t>(all.size());
  std::printf("200 kills: %lld records reported, %lld kept, %lld kills before the first record\n",
              static_cast<long long>(finished), static_cast<long long>(kept), static_cast<long long>(without));
  EXPECT_GE(kept, finished);
  EXPECT_LE(kept, finished + 200) << "at most one a kill was written and not yet reported";
  EXPECT_GE(finished, 200) << "the kills came too early to prove anything";
}

TEST(Durability, KillInAMigrationLeavesEitherVersion) {
  for (int i = 0; i < 20; ++i) {
    const TempFolder folder(fast_folder());
    const std::string path = folder.file("h.db");
    {
      sqlite::Database db(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 0);
      db.run(std::string(kStep1) + std::string(kStep2));
      db.run(cat("PRAGMA application_id = ", kApplicationId, "; PRAGMA user_version = 2"));
      Record r = sample_record("m", 0);
      complete(r);
      sqlite::Transaction transaction(db);
      for (int n = 0; n < 200; ++n) {
        db.run(cat("INSERT INTO records VALUES(", n + 1, ", '", r.key, "', 's', 'n', 'y', '{}', '{}', 'c', '",
                   r.created, "')"));
        db.run(cat("INSERT INTO metrics VALUES(", n + 1, ", 0, 'latency', 'ms', 'lower', 1.5, x'')"));
      }
      transaction.commit();
    }
    const Child child = start([&](int) { History::open(path, OpenMode::write); });
    std::this_thread::sleep_for(std::chrono::microseconds(i * 500));
    kill(child.pid, SIGKILL);
    finish(child);
    const History history = History::open(path, OpenMode::write);
    EXPECT_EQ(history.list({}).size(), 200u);
    EXPECT_EQ(history.check(), "ok");
  }
}

TEST(TwoWriters, SecondWaitsForTheFirst) {
  const TempFolder folder;
  const std::string path = folder.file("h.db");
  History history = History::open(path, OpenMode::write);
  std::vector<Child> writers;
  for (int w = 0; w < 3; ++w)
    writers.push_back(start([&](int out) {
      say_outcome(out, [&] {
        History mine = History::open(path, OpenMode::write, 60000);
        for (int i = 0; i < 20; ++i) mine.record(sample_record("m", i));
      });
    }));
  for (const Child& writer : writers) EXPECT_EQ(finish(writer), "none");
  EXPECT_EQ(history.list({}).size(), 60u);
}

TEST(TwoWriters, NewFileMadeByManyAtOnceIsMadeOnce) {
  const TempFolder folder;
  const std::string path = folder.file("h.db");
  std::vector<Child> writers;
  for (int w = 0; w < 4; ++w)
    writers.push_back(start([&](int out) {
      say_outcome(out, [&] { History::open(path, OpenMode::write, 60000).record(sample_record("m", w)); });
    }));
  for (const Child& writer : writers) EXPECT_EQ(finish(writer), "none");
  EXPECT_EQ(History::open(path, OpenMode::read).list({}).size(), 4u);
}

TEST(TwoWriters, SecondGetsAClearErrorInTheEndAndReadersGoOn) {
  const TempFolder folder;
  const std::string path = folder.file("h.db");
  History history = History::open(path, OpenMode::write, 50);
  history.record(sample_record("m", 0));
  sqlite::Database other(path, SQLITE_OPEN_READWRITE, 0);
  {
    sqlite::Transaction holds(other);
    try {
      history.record(sample_record("m", 1));
      FAIL() << "wrote beside another writer";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::resource);
      EXPECT_NE(std::string(e.what()).find("locked by another writer for 50 ms, want one writer at a time, try again"),
                std::string::npos)
          << e.what();
    }
    EXPECT_EQ(History::open(path, OpenMode::read).list({}).size(), 1u);
  }
  history.record(sample_record("m", 1));
  EXPECT_EQ(history.list({}).size(), 2u);
}

// Fills the disk under an open history until a record fails; what was recorded before must be there afterwards.
std::string fill(const std::string& path) {
  return message_of([&] {
    History history = History::open(path, OpenMode::write);
    for (int i = 0; i < 500; ++i) history.record(sample_record("m", i % 50, 2000));
  });
}

TEST(FullDisk, FileSizeLimitIsAClearErrorAndKeepsTheRest) {
  const TempFolder folder;
  const std::string path = folder.file("h.db");
  const Child child = start([&](int out) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{400000, 400000};
    KPT_ASSERT(setrlimit(RLIMIT_FSIZE, &limit) == 0, "test", "no limit");
    say(out, fill(path));
  });
  const std::string message = finish(child);
  EXPECT_NE(message.find("got a failed read or write"), std::string::npos) << message;
  History history = History::open(path, OpenMode::write);
  EXPECT_EQ(history.check(), "ok");
  const size_t kept = history.list({}).size();
  EXPECT_GE(kept, 5u);
  EXPECT_LT(kept, 500u);
  history.record(sample_record("m", 0));
  EXPECT_EQ(history.list({}).size(), kept + 1);
}

TEST(FullDisk, SmallFileSystemIsAClearErrorAndKeepsTheRest) {
  const TempFolder folder;
  const std::string disk = folder.file("disk");
  std::filesystem::create_directory(disk);
  const Child child = start([&](int out) {
    const bool mounted = (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
                         mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=600k") == 0;
    if (!mounted) return say(out, "not mounted");
    const std::string message = fill(disk + "/h.db");
    const History history = History::open(disk + "/h.db", OpenMode::read);
    say(out, cat(message, " | ", history.check(), " | ", history.list({}).size() >= 5 ? "kept" : "lost"));
  });
  const std::string message = finish(child);
  if (message == "not mounted") GTEST_SKIP() << "a file system of its own may not be mounted here";
  EXPECT_NE(message.find("got a full disk"), std::string::npos) << message;
  EXPECT_NE(message.find("| ok | kept"), std::string::npos) << message;
}

TEST(ReadOnlyFolder, WriterGetsAClearErrorAndReaderReads) {
  const TempFolder folder;
  const std::string path = folder.file("h.db");
  { History::open(path, OpenMode::write).record(sample_record("m", 0)); }
  const Child child = start([&](int out) {
    constexpr uid_t kNobody = 65534;
    chmod(path.c_str(), 0444);
    chmod(folder.path().c_str(), 0555);
    // Root may write everywhere, so root becomes somebody else.
    if (geteuid() == 0)
      KPT_ASSERT(setgroups(0, nullptr) == 0 && setegid(kNobody) == 0 && seteuid(kNobody) == 0, "test", "still root");
    say_outcome(out, [&] { History::open(path, OpenMode::write).record(sample_record("m", 1)); });
    say(out, " | ");
    say_outcome(out, [&] { History::open(folder.file("new.db"), OpenMode::write); });
    say(out, " | ");
    say_outcome(out, [&] { say(out, cat(History::open(path, OpenMode::read).list({}).size(), " ")); });
  });
  const std::string message = finish(child);
  chmod(folder.path().c_str(), 0755);
  EXPECT_TRUE(message.starts_with("resource: [tracking.history] got no access to ")) << message;
  EXPECT_NE(message.find("| resource: [tracking.history] got no access to "), std::string::npos) << message;
  EXPECT_NE(message.find("| 1 none"), std::string::npos) << message;
  EXPECT_EQ(History::open(path, OpenMode::read).list({}).size(), 1u);
}

}  // namespace
}  // namespace kpt
