# What `./dev install PREFIX` puts where: headers, two shared libraries, the command, pkg-config files.
set(CMAKE_INSTALL_LIBDIR lib CACHE STRING "where libraries go below the prefix")
include(GNUInstallDirs)
foreach(module base memory state heapstate checkpoint rocks)
    install(DIRECTORY ${module}/include/cistern DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
endforeach()
install(TARGETS cistern cistern-rocks LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS cistern-command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
configure_file(cmake/cistern.pc.in cistern.pc @ONLY)
configure_file(cmake/cistern-rocks.pc.in cistern-rocks.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cistern.pc ${CMAKE_CURRENT_BINARY_DIR}/cistern-rocks.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
